"""The doctor finds what is wrong, and names the cure."""

import theorylab.report.doctor as doctor


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    problems = doctor.examine(tmp_path / "file" / "xla")["problems"]
    assert len(problems) == 1 and "THEORYLAB_CACHE" in problems[0]["cure"]


def test_a_solve_that_fails_and_a_jax_out_of_range(tmp_path, monkeypatch):
    def broken():
        raise ArithmeticError("two and two are five")

    monkeypatch.setattr(doctor, "_solve", broken)
    monkeypatch.setattr(doctor, "_RANGE", ((0, 1), (0, 2)))
    findings = doctor.examine(tmp_path)
    assert [problem["what"].split()[0] for problem in findings["problems"]] == ["jax", "one"]
    assert "two and two are five" in findings["problems"][1]["what"]
    assert findings["solve_seconds"] is None and findings["compile_seconds"] > 0
