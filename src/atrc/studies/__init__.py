"""Studies: many recipes and seeds, and what they cost and reach."""
