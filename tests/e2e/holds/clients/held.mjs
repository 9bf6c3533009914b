// A statement that people have to agree to, by node's `pg`: what it is told, and how many rows it
// changed. Arguments: where the driver is, host, port, user, password, database, SQL, and after how
// many seconds it gives up and comes back; 0 for never.

import { createRequire } from "node:module";

const [modules, host, port, user, password, database, sql, deadline] = process.argv.slice(2);
const { Client } = createRequire(`${modules}/`)("pg");
for (let done = false; !done; ) {
  const client = new Client({
    host, port: Number(port), user, password, database, ssl: false,
    query_timeout: 1000 * Number(deadline),
  });
  client.on("notice", (notice) => console.log(notice.message));
  client.on("error", () => {});
  await client.connect();
  try {
    console.log((await client.query(sql)).rowCount);
    done = true;
    await client.end();
  } catch (error) {
    if (error.message !== "Query read timeout") throw error;
    console.log("gave up");
    client.end();
  }
}
