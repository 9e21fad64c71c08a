"""TensorRT engines: what is asked for, what is built, what is kept. None of them is run here."""
