"""Tables and page of a group of participants."""
