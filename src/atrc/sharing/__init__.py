"""Networks as files: folders to share, the Hugging Face Hub, and exports for other runtimes."""
