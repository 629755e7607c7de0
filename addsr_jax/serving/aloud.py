"""What gradio leaves unsaid to whoever hears the page: how far the work is, and which picture is which."""

STATUS = ('status', 'batch-status')  # elements whose changes are read out
COMPARED = ('before', 'after')  # the two pictures of the slider

JS = f"""() => {{
  const tell = () => {{
    for (const id of {list(STATUS)}) document.getElementById(id)?.setAttribute('aria-live', 'polite');
    document.querySelectorAll('#compare img').forEach((image, i) => {{ image.alt ||= {list(COMPARED)}[i] ?? ''; }});
  }};
  new MutationObserver(tell).observe(document.body, {{ childList: true, subtree: true }});
  tell();
}}"""
