"""What the formats for devices, runtimes and browsers share."""
