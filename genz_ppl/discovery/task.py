"""A task in words, for a model that is to suggest questions before it has seen what they are for."""

from __future__ import annotations

from genz_ppl.data import Items

# Targets that a task names; of more, the first ones.
NAMED = 6
# Training items shown with it, so that a model sees what items are.
SHOWN = 200


def task_of(items: Items) -> str:
    """The task in words, from the names of targets, classes and items."""
    names = items.target_names
    if items.class_names:
        kinds = "; ".join(f"{name} ({', '.join(labels)})" for name, labels in zip(names, items.class_names, strict=True))
        return f"Tell for each item of {items.name} its class: {kinds}."
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"Predict for each item of {items.name}: {', '.join(names[:NAMED])}{more}."
