"""nbgrader's settings, for `nbgrader` commands run in the instructor pack. Set the exchange's folder on your hub."""

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "residual-flows"
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}
# Students' code is untrusted: grade with `python course grade`, not with `nbgrader autograde`, which runs it as you.
