"""Makes the documents of this folder: `pip install chalice==1.34.0 && python generate.py`.

Chalice (Apache-2.0) makes a document of each application here, with made-up names of what it would have deployed; nothing is changed.
"""

import json
import pathlib

from chalice import AuthResponse, Chalice, CognitoUserPoolAuthorizer, CORSConfig, CustomAuthorizer, IAMAuthorizer
from chalice.deploy.models import RestAPI
from chalice.deploy.swagger import SwaggerGenerator

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:"


def cors():
    app = Chalice("cors")
    app.api.binary_types = ["image/png"]

    @app.route("/", cors=True)
    def index():
        return {}

    @app.route("/pets/{id}", methods=["GET", "PUT"], cors=CORSConfig(allow_origin="https://a.example", allow_headers=["x-b"], max_age=60, expose_headers=["x-c"], allow_credentials=True))
    def pet(id):
        return {}

    @app.route("/upload", methods=["POST"], content_types=["image/png", "application/json"], api_key_required=True)
    def upload():
        return {}

    return app


def authorizers():
    app = Chalice("authorizers")
    pool = CognitoUserPoolAuthorizer("Pool", header="Authorization", provider_arns=["arn:aws:cognito-idp:eu-west-1:123456789012:userpool/eu-west-1_aB3"], scopes=["read"])
    far = CustomAuthorizer("Far", header="X-Token", ttl_seconds=30, authorizer_uri="arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/" + ARN + "far/invocations", invoke_role_arn="arn:aws:iam::123456789012:role/invoke")

    @app.authorizer(name="Near", ttl_seconds=10, execution_role="arn:aws:iam::123456789012:role/invoke")
    def near(request):
        return AuthResponse(routes=["*"], principal_id="a")

    for path, authorizer in [("/pool", pool), ("/far", far), ("/near", near), ("/iam", IAMAuthorizer())]:
        app.route(path, authorizer=authorizer)(lambda: {})
    app.route("/scoped", name="scoped", authorizer=pool.with_scopes(["read", "write"]))(lambda: {})
    app.route("/keys", name="keys", authorizer=far, api_key_required=True)(lambda: {})
    return app


def private():
    app = Chalice("private")
    app.route("/")(lambda: {})
    return app


POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "execute-api:Invoke", "Resource": ["arn:aws:execute-api:eu-west-1:123456789012:*"], "Condition": {"StringEquals": {"aws:SourceVpce": ["vpce-1"]}}}]}


class Policy:
    document = POLICY


for app in [cors(), authorizers(), private()]:
    rest = RestAPI(resource_name="rest_api", swagger_doc={}, minimum_compression="2048", api_gateway_stage="api", endpoint_type="EDGE", lambda_function=None)
    if app.app_name == "private":
        rest.endpoint_type, rest.policy, rest.vpce_ids = "PRIVATE", Policy, ["vpce-1"]
    names = {"api_handler_arn": ARN + "handler", "api_handler_name": "handler", "lambda_functions": {"handler-Near": {"arn": ARN + "near"}}}
    made = SwaggerGenerator("eu-west-1", names).generate_swagger(app, rest)
    pathlib.Path(__file__).with_name(app.app_name + ".json").write_text(json.dumps(made, indent=1) + "\n")
