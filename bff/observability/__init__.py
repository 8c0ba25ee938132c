"""What the BFF says about itself: metrics, logs, traces."""
