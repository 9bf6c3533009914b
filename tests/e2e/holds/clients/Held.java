// A statement that people have to agree to, by JDBC: what it is told, and how many rows it changed.
// Arguments: host, port, user, password, database, SQL, and after how many seconds it gives up and
// comes back; 0 for never.

import java.net.SocketTimeoutException;
import java.sql.*;

public class Held {
    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:postgresql://" + arguments[0] + ":" + arguments[1] + "/" + arguments[4]
            + "?socketTimeout=" + arguments[6];
        while (true) {
            try (Connection c = DriverManager.getConnection(url, arguments[2], arguments[3]);
                 PreparedStatement held = c.prepareStatement(arguments[5])) {
                int rows = held.executeUpdate();
                for (SQLWarning told = held.getWarnings(); told != null; told = told.getNextWarning()) {
                    System.out.println(told.getMessage());
                }
                System.out.println(rows);
                return;
            } catch (SQLException error) {
                if (!(error.getCause() instanceof SocketTimeoutException)) throw error;
                System.out.println("gave up");
            }
        }
    }
}
