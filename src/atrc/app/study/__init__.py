"""`atrc study`: run a study and show its progress, write its report."""
