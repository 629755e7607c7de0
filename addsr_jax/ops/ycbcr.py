"""Luma and chroma of JPEG files (BT.601 at full range, JFIF 1.02)."""

import numpy as np

# Rows: luma, blue and red difference of R, G, B. A grey has chroma 0, and luma that is added to all three channels is
# luma alone.
TO_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
FROM_YCBCR = np.linalg.inv(TO_YCBCR)
