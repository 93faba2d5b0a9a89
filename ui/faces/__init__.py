"""What shows: the wall, the API, the exposition. A face reads ``ui.view`` and changes nothing."""
