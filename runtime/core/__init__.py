"""The decision core: integers only, pure, compiled or not with the same bytes."""
