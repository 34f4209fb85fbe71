"""Why something is as it is: the chain of causes, from the events of the history."""
