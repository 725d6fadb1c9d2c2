import json

from handler import handler


def test_greets_whom_the_query_names():
    answer = handler({"version": "2.0", "queryStringParameters": {"name": "ada"}}, None)
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == {"message": "Hello, ada!"}


def test_greets_the_world_without_a_name():
    assert json.loads(handler({"version": "2.0"}, None)["body"]) == {"message": "Hello, world!"}
