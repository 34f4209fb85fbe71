"""``heartbus config push``: one document to all directors, in two steps, or to none."""
