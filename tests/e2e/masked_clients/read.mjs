// What node's `pg` reads from a table: as text, as binary, and by a named statement, executed again.
// Arguments: where the driver is, host, port, user, password, database, and one that is not used here.

import { createRequire } from "node:module";

const [modules, host, port, user, password, database] = process.argv.slice(2);
const { Client } = createRequire(`${modules}/`)("pg");
const client = new Client({ host, port: Number(port), user, password, database, ssl: false });
await client.connect();
const show = (result) => {
  // An enum's number is the database's own.
  const own = (field) => (field.name === "r_mood" ? "" : field.dataTypeID);
  console.log(result.fields.map((field) => [field.name, own(field), field.dataTypeModifier]));
  for (const row of result.rows) console.log(JSON.stringify(row));
};
show(await client.query("SELECT * FROM people ORDER BY id"));
show(await client.query({
  text: "SELECT id, r_int, r_text, l_text, r_bool, plain FROM people WHERE id > $1 ORDER BY id",
  values: [0], binary: true,
}));
for (let n = 0; n < 5; n++) {
  const one = { name: "one", text: "SELECT * FROM people WHERE id = $1", values: [1 + (n % 3)] };
  show(await client.query(one));
}
await client.end();
