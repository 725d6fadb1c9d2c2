def handle(event, context):
    """Answer one request; see functions/README.md for what `event` and `context` hold."""
    return {"statusCode": 200, "body": "Hello from Pilotlight!"}
