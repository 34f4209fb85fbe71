"""``heartbus up``: one whole director in the foreground, each service a process of its own."""
