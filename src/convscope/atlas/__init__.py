"""The atlas: a scan with its pictures, as a folder of tables, images and static pages."""
