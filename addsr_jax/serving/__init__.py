"""The page of `addsr serve`: its files, its gate, its work, and gradio's components on top."""
