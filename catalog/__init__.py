"""What a schema is and where its rows belong: pure, without network or database."""
