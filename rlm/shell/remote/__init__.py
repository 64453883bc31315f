"Cells that run in another process: frames, links, locks, the worker and its shell."
