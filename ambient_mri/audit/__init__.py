"""The memorization audit: statistics on arrays that know nothing of our models, and `run`, which feeds them."""
