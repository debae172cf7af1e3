"""What implements the ports: journals, the head anchor, stored inputs, projections."""
