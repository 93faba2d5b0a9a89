"""From alerts to pages: who is told what, when and how often. Pure: no clock, no socket, no file.

``labels`` says what an alert is called, ``silence`` what is kept quiet, ``policy`` who wants to know, ``schedule`` who is on
duty, ``desk`` what has been told and what is to be told now, ``outbox`` in which order and how fast, ``report`` how well it
went."""
