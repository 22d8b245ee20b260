"""Load: routes at a rate, and budgets for what is measured."""
