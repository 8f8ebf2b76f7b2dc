"""`audit.json`: a published schema, read back as written, foreign files refused."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from ambient_mri.audit.results import SCHEMA, AuditResult, schema_text
from ambient_mri.errors import InputError
from tests.audit.example import example


def test_published_schema_is_that_of_the_code() -> None:
    assert SCHEMA.read_text("utf-8") == schema_text(), "write results.schema_text() to it"
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text("utf-8")))


def test_results_fit_the_schema_and_come_back() -> None:
    result = example()
    jsonschema.validate(json.loads(result.to_json()), json.loads(SCHEMA.read_text("utf-8")))
    assert AuditResult.from_json(result.to_json()) == result


@pytest.mark.parametrize(
    "change",
    [{"verdict": "SAFE"}, {"seed": "x"}, {"extra": 1}, {"format": "ambient-mri audit 2"}, {"gates": [{"name": "a"}]}],
)
def test_the_schema_and_the_reader_refuse(change: dict[str, Any]) -> None:
    document = json.loads(example().to_json()) | change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json.loads(SCHEMA.read_text("utf-8")))
    with pytest.raises(InputError, match=r"not the audit\.json"):
        AuditResult.from_json(json.dumps(document))
