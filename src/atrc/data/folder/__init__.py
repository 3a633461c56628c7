"""Your own data: a folder of images and labels with a `dataset.yaml` that says what they are."""
