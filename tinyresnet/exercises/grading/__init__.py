"""Grading many submissions, each in a process that can do little. Floor 5, on top of the exercises.

grade.py      a folder of submissions -> marks: who judges, and in which order
collect.py    whose work is where; its copy, a zip unpacked with care
work.py       the exercises in a student's files, and what their text alone shows
notebook.py   the functions of a notebook, as a file
sandbox.py    one file, one exercise, one process: started, watched, ended
child.py      what runs in there: it locks itself in, runs the file, and sends numbers
landlock.py   Linux: no file outside the copy
seccomp.py    Linux: no network, no other process, no signals, no change of rights
audit.py      everywhere, in Python: a second lock, and the only one where the two above are missing
table.py      results.csv
"""
