"""What a network finds in pictures and videos that a user names, as its evaluation would find it."""
