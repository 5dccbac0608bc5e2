"""The one training loop of all tasks: `loop.fit`, its schedule, its sampling and its exactly resumable state."""
