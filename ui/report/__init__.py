"""Reports: one document made of figures, tables and charts, written as a page, as a PDF and as data.

``span`` says of when, ``gather`` asks the store and the records, ``energy``, ``use`` and ``reliable`` make the sections,
``page``, ``typeset`` and ``data`` write them. Every writer takes the same ``document.Report``: no number is worked out twice.
"""
