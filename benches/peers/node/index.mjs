import { createHash } from "node:crypto";

import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient, GetCommand, QueryCommand } from "@aws-sdk/lib-dynamodb";

const dynamo = DynamoDBDocumentClient.from(new DynamoDBClient({}));
const accounts = new Map();

export const handler = async (event) => {
  const account = await accountOf(event.headers?.["x-api-key"]);
  if (!account) {
    return reply(401, { message: "Unauthorized" });
  }

  const { limit, cursor } = event.queryStringParameters ?? {};
  const page = await dynamo.send(
    new QueryCommand({
      TableName: process.env.OFFERINGS_TABLE,
      IndexName: "byCustomerType",
      KeyConditionExpression: "account = :account AND customerType = :customerType",
      ExpressionAttributeValues: { ":account": account, ":customerType": "CONSUMER" },
      Limit: Number(limit ?? 100),
      ExclusiveStartKey: cursor && JSON.parse(Buffer.from(cursor, "base64url")),
    }),
  );

  const items = page.Items.map(offering);
  const pagination = {};
  if (page.LastEvaluatedKey) {
    pagination.nextCursor = Buffer.from(JSON.stringify(page.LastEvaluatedKey)).toString("base64url");
  }
  return reply(200, { items, pagination });
};

async function accountOf(apiKey) {
  if (!apiKey) {
    return undefined;
  }
  if (!accounts.has(apiKey)) {
    const keyHash = createHash("sha256").update(apiKey).digest("hex");
    const { Item } = await dynamo.send(
      new GetCommand({ TableName: process.env.API_KEYS_TABLE, Key: { keyHash } }),
    );
    if (!Item) {
      return undefined;
    }
    accounts.set(apiKey, Item.account);
  }
  return accounts.get(apiKey);
}

function offering({ productOfferingId, status, customerType, document }) {
  return { productOfferingId, status, customerType, ...JSON.parse(`{${document}`) };
}

function reply(statusCode, body) {
  return {
    statusCode,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
}
