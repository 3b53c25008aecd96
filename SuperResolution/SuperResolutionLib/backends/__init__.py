"""How a network is executed; each backend offers ``load(card, device)`` with the same methods."""
