"""What a drawing consists of."""


def of(drawing, kind):
    """Marks of one kind, in their order."""
    return [mark for mark in drawing.marks if isinstance(mark, kind)]
