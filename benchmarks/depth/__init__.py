"""What depth adaptation buys: problems, searches with their controls, menus, and pictures."""
