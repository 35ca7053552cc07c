"""The publisher: reads committed changes by Router.Watch and puts them on a message bus."""
