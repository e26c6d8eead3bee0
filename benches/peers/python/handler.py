import base64
import hashlib
import json
import os
from decimal import Decimal

import boto3
from boto3.dynamodb.conditions import Key

dynamodb = boto3.resource("dynamodb", region_name=os.environ["AWS_REGION"])
offerings = dynamodb.Table(os.environ["OFFERINGS_TABLE"])
api_keys = dynamodb.Table(os.environ["API_KEYS_TABLE"])
accounts = {}


class DecimalEncoder(json.JSONEncoder):
    def default(self, o):
        if isinstance(o, Decimal):
            return int(o) if o % 1 == 0 else float(o)
        return super().default(o)


def handler(event, context):
    account = account_of(event.get("headers", {}).get("x-api-key"))
    if account is None:
        return reply(401, {"message": "Unauthorized"})

    parameters = event.get("queryStringParameters") or {}
    query = {
        "IndexName": "byCustomerType",
        "KeyConditionExpression": Key("account").eq(account) & Key("customerType").eq("CONSUMER"),
        "Limit": int(parameters.get("limit", 100)),
    }
    if "cursor" in parameters:
        query["ExclusiveStartKey"] = json.loads(base64.urlsafe_b64decode(parameters["cursor"]))
    page = offerings.query(**query)

    pagination = {}
    if "LastEvaluatedKey" in page:
        key = json.dumps(page["LastEvaluatedKey"], cls=DecimalEncoder)
        pagination["nextCursor"] = base64.urlsafe_b64encode(key.encode()).decode()
    return reply(200, {"items": [offering(item) for item in page["Items"]], "pagination": pagination})


def account_of(api_key):
    if not api_key:
        return None
    if api_key not in accounts:
        key_hash = hashlib.sha256(api_key.encode()).hexdigest()
        item = api_keys.get_item(Key={"keyHash": key_hash}).get("Item")
        if item is None:
            return None
        accounts[api_key] = item["account"]
    return accounts[api_key]


def offering(item):
    return {
        "productOfferingId": item["productOfferingId"],
        "status": item["status"],
        "customerType": item["customerType"],
        **json.loads("{" + item["document"]),
    }


def reply(status, body):
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(body, cls=DecimalEncoder),
    }
