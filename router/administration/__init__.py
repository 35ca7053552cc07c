"""What the Admin service does beside describing: schemas, audits, and shadows that nobody needs."""
