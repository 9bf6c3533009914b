// All that JDBC's DatabaseMetaData says of a schema; then, where the last argument says so, that a
// write is refused and the session goes on. Before it: URL, user, password.

import java.sql.*;

public class Metadata {
    static void print(String what, ResultSet rows) throws SQLException {
        int columns = rows.getMetaData().getColumnCount();
        int count = 0;
        for (; rows.next(); count++) {
            StringBuilder line = new StringBuilder(what);
            for (int at = 1; at <= columns; at++) {
                line.append('|').append(rows.getString(at));
            }
            System.out.println(line);
        }
        System.out.println(what + ": " + count);
        rows.close();
    }

    public static void main(String[] arguments) throws Exception {
        for (String mode : new String[] {"extended", "simple"}) {
            String url = arguments[0] + "?preferQueryMode=" + mode;
            try (Connection c = DriverManager.getConnection(url, arguments[1], arguments[2])) {
                look(c);
                if (arguments[3].equals("refused")) {
                    write(c);
                }
            }
        }
    }

    static void look(Connection c) throws SQLException {
        DatabaseMetaData m = c.getMetaData();
        print("schemas", m.getSchemas());
        print("kinds", m.getTableTypes());
        print("types", m.getTypeInfo());
        print("tables", m.getTables(null, "shop", "%", null));
        print("columns", m.getColumns(null, "shop", "%", "%"));
        print("rights on columns", m.getColumnPrivileges(null, "shop", "orders", "%"));
        print("rights on tables", m.getTablePrivileges(null, "shop", "%"));
        for (String table : new String[] {"customers", "orders", "events", "Odd Name"}) {
            print("keys", m.getPrimaryKeys(null, "shop", table));
            print("imported", m.getImportedKeys(null, "shop", table));
            print("exported", m.getExportedKeys(null, "shop", table));
            print("indexes", m.getIndexInfo(null, "shop", table, false, true));
            print("best", m.getBestRowIdentifier(null, "shop", table, 1, true));
            print("versions", m.getVersionColumns(null, "shop", table));
        }
        print("crossed", m.getCrossReference(null, "shop", "customers", null, "shop", "orders"));
        print("procedures", m.getProcedures(null, "shop", "%"));
        print("their columns", m.getProcedureColumns(null, "shop", "%", "%"));
        print("functions", m.getFunctions(null, "shop", "%"));
        print("their columns", m.getFunctionColumns(null, "shop", "%", "%"));
        print("user's types", m.getUDTs(null, "shop", "%", null));
        print("client info", m.getClientInfoProperties());
        System.out.println(m.getSQLKeywords() + m.getMaxConnections() + m.getMaxColumnNameLength());
        System.out.println(m.getDefaultTransactionIsolation());

        c.setSchema("shop");
        c.setAutoCommit(false);
        c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        c.setReadOnly(true);
        try (PreparedStatement s = c.prepareStatement("SELECT * FROM orders WHERE id = ?")) {
            s.setFetchSize(1);
            s.setInt(1, 2);
            ResultSet rows = s.executeQuery();
            ResultSetMetaData shown = rows.getMetaData();
            for (int at = 1; at <= shown.getColumnCount(); at++) {
                System.out.println(shown.getColumnName(at) + shown.isAutoIncrement(at)
                    + shown.isNullable(at) + shown.getColumnTypeName(at));
            }
        }
        c.rollback();
        c.setReadOnly(false);
        c.setAutoCommit(true);
    }

    static void write(Connection c) throws SQLException {
        String[] writes = {"INSERT INTO shop.orders (customer_id) VALUES (1)",
            "UPDATE shop.orders SET total = 1", "DELETE FROM shop.orders",
            "TRUNCATE shop.orders", "CREATE TABLE shop.made ()"};
        for (String write : writes) {
            try (PreparedStatement s = c.prepareStatement(write)) {
                s.execute();
                throw new AssertionError(write + " passes");
            } catch (SQLException e) {
                if (!"42501".equals(e.getSQLState())) {
                    throw e;
                }
            }
            try (Statement s = c.createStatement();
                    ResultSet rows = s.executeQuery("SELECT count(*) FROM shop.orders")) {
                rows.next();
                if (rows.getInt(1) != 3) {
                    throw new AssertionError(write);
                }
            }
        }
    }
}
