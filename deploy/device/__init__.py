"""What runs on a device, inside the image: nothing here needs more than Python."""
