"""What a run needs, known before it starts: memory, FLOPs, traffic and time of its programs on other machines."""
