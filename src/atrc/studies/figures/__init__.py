"""The figures of a study: results, searches, and the style that they share."""
