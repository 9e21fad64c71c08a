"""What only a GPU can show: ``python -m tests.gpu`` runs all of it and writes a report; the suite skips it elsewhere."""
