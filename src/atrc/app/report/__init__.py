"""The report of `atrc demo`: one HTML file with everything inside."""
