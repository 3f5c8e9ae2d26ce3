"""How well does each way of learning do on the same network, data and number of updates?"""
