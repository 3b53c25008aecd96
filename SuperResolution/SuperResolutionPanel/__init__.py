"""What the panel is made of: the form and its lists, the first-use set-up, run and cancel.

Qt lives here and in SuperResolution.py, nowhere else. Nothing in this package imports torch.
"""
