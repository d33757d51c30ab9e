"""Makes the documents of this folder: `pip install aws-sam-translator==1.115.0 && python generate.py`.

SAM's translator (Apache-2.0) makes a document of each template here (`*.sam`, written for Edgeward). What CloudFormation would fill in afterwards
(`Ref`, `Fn::Sub`, `Fn::GetAtt`) is filled in here, with made-up names; nothing else is changed.
"""

import json
import os
import pathlib
import re

os.environ["AWS_DEFAULT_REGION"] = "eu-west-1"
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

KNOWN = {"AWS::Region": "eu-west-1", "AWS::AccountId": "123456789012", "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com"}


class NoPolicies:
    def load(self):
        return {}


def named(name):
    if name.endswith(".Arn"):
        return f"arn:aws:lambda:eu-west-1:123456789012:function:{name[:-4]}"
    return KNOWN.get(name, name)


def filled(value):
    if isinstance(value, list):
        return [filled(one) for one in value]
    if not isinstance(value, dict):
        return value
    if list(value) == ["Ref"]:
        return named(value["Ref"])
    if list(value) == ["Fn::GetAtt"]:
        return named(".".join(value["Fn::GetAtt"]))
    if list(value) == ["Fn::Sub"]:
        text, more = value["Fn::Sub"], {}
        if isinstance(text, list):
            text, more = text[0], {key: filled(one) for key, one in text[1].items()}
        return re.sub(r"\$\{([^}!]+)\}", lambda found: more.get(found[1], named(found[1])), text)
    assert not any(key.startswith("Fn::") for key in value), value
    return {key: filled(one) for key, one in value.items()}


for path in sorted(pathlib.Path(__file__).parent.glob("*.sam")):
    made = transform(yaml_parse(path.read_text()), {}, NoPolicies())
    bodies = [one["Properties"]["Body"] for one in made["Resources"].values() if "Body" in one.get("Properties", {})]
    assert len(bodies) == 1, path
    path.with_suffix(".json").write_text(json.dumps(filled(bodies[0]), indent=1) + "\n")
