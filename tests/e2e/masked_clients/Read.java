// What JDBC reads from a table: as text, as binary, prepared on the server and executed again, by a
// cursor. Arguments: URL, user, password, and one that is not used here.

import java.sql.*;
import java.util.Arrays;

public class Read {
    static void print(ResultSet rows) throws SQLException {
        ResultSetMetaData about = rows.getMetaData();
        for (int at = 1; at <= about.getColumnCount(); at++) {
            System.out.println(about.getColumnName(at) + " " + about.getColumnTypeName(at) + " "
                + about.getPrecision(at) + " " + about.getScale(at));
        }
        while (rows.next()) {
            StringBuilder line = new StringBuilder();
            for (int at = 1; at <= about.getColumnCount(); at++) {
                Object value = rows.getObject(at);
                String seen = value instanceof byte[] bytes
                    ? Arrays.toString(bytes) : value + "/" + rows.getString(at);
                line.append('|').append(seen);
            }
            System.out.println(line);
        }
        rows.close();
    }

    public static void main(String[] arguments) throws Exception {
        for (String how : new String[] {
            "binaryTransfer=false", "binaryTransfer=true&prepareThreshold=-1", "preferQueryMode=simple"
        }) {
            String url = arguments[0] + "?" + how;
            try (Connection c = DriverManager.getConnection(url, arguments[1], arguments[2])) {
                print(c.createStatement().executeQuery("SELECT * FROM people ORDER BY id"));
                PreparedStatement one = c.prepareStatement("SELECT * FROM people WHERE id = ?");
                for (int n = 0; n < 7; n++) {
                    one.setInt(1, 1 + n % 3);
                    print(one.executeQuery());
                }
                c.setAutoCommit(false);
                Statement slow = c.createStatement();
                slow.setFetchSize(1);
                print(slow.executeQuery("SELECT id, r_text, l_big, n_numeric FROM people"));
                c.commit();
            }
        }
    }
}
