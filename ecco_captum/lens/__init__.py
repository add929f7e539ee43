"""What each layer would predict, read through the model's own output head."""
