"""Sound through the whole way: made speech, segments, pictures and figures."""
